"""The gateway's gunicorn worker with less patience for readers, so that no test waits for production's."""

from app.gateway.patient_worker import PatientWorker


class HurriedWorker(PatientWorker):
    answer_seconds = 2.0
